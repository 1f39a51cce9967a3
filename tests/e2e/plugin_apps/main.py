"""The app that the pytest plugin is tried with."""

import asyncio
import os

from fastapi import BackgroundTasks, FastAPI, Request

app = FastAPI()


@app.get("/items/{item_id}")
async def item(item_id: int):
    return {"item": item_id}


@app.post("/orders", status_code=201)
async def order(asked: dict):
    return asked


@app.get("/echo")
async def echo(request: Request):
    return {"query": request.url.query, "headers": dict(request.headers), "label": os.environ.get("LABEL")}


@app.get("/broken")
async def broken():
    raise RuntimeError("out of tea")


@app.get("/mail")
async def mail(tasks: BackgroundTasks):
    tasks.add_task(asyncio.sleep, 0.1)
    return {}


@app.post("/events")
async def events(event: dict):
    return {"records": len(event["Records"])}
