"""A FastAPI app with work of its own after the response: a middleware, a dependency, a task."""

import asyncio
from typing import Annotated

from endings import note
from fastapi import BackgroundTasks, Depends, FastAPI

app = FastAPI()


@app.middleware("http")
async def around(request, call_next):
    """Note what happens around the app."""
    response = await call_next(request)
    note("middleware")
    return response


async def resource():
    """Give something and note its teardown."""
    yield 1
    note("teardown")


async def task():
    """Work for a while."""
    await asyncio.sleep(0.3)
    note("task")


@app.get("/")
async def index(tasks: BackgroundTasks, number: Annotated[int, Depends(resource)]):
    """Answer, with a task to follow."""
    tasks.add_task(task)
    return {"number": number}


@app.get("/raise")
async def fail():
    """Raise what nobody handles: Starlette answers 500, then uvicorn closes the connection."""
    raise RuntimeError("after the response")
