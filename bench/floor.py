"""The floor: an endpoint with the service's schemas that stores nothing.

uvicorn bench.floor:app
"""

from datetime import UTC, datetime
from uuid import uuid4

from fastapi import FastAPI

from service.signup.schemas import SignupConfirmation, SignupRequest

app = FastAPI()


@app.post("/signup", status_code=201)
async def signup(body: SignupRequest) -> SignupConfirmation:
    return SignupConfirmation(
        id=uuid4(), email=body.email.typed, name=body.name, created_at=datetime.now(UTC)
    )
