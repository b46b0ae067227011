"""`rsdata sandbox`: the embedded planet as a server."""

from __future__ import annotations

from typing import Annotated

import typer

from rsdata.sandbox.faults import KINDS


def register(app: typer.Typer) -> None:
    """Add the command to a program."""
    app.command("sandbox")(sandbox)


def sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 0,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(min=0, help="of the planet, and of which requests fail")] = 0,
    latency: Annotated[
        float, typer.Option(min=0, help="seconds from a request to its answer, at least")
    ] = 0.0,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="requests at once; more are answered 429 (default: any)")
    ] = None,
    retry_after: Annotated[int, typer.Option(min=0, help="seconds that a 429 asks to wait")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=SHARE",
            help=f"misbehave, repeatable: 429=0.2, 500=first:3, cut@computePixels=0.1; kinds: {' '.join(KINDS)}",
        ),
    ] = None,
) -> None:
    """Serve the embedded planet until interrupted; prints its base URL as JSON first."""
    import json
    import signal
    import sys
    from datetime import UTC, datetime

    import cv2

    from rsdata.sandbox.serve import start
    from rsdata.sandbox.world import Grid, World

    cv2.setNumThreads(1)  # requests are the threads
    server = start(
        host,
        port,
        seed=seed,
        faults=fault or (),
        latency=latency,
        concurrency=concurrency,
        retry_after=retry_after,
    )
    # The fields of the whole planet, once, so that the first request is as quick as the rest.
    World(seed).cloud(Grid.around(0, 0, 60, 8), datetime(2020, 1, 1, tzinfo=UTC))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that temporary folders go
    print(json.dumps({"url": server.url}), flush=True)
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.server_close()
