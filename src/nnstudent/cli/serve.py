"""Segment CT from a page in the browser, on this machine or for a few people around it.

  nnstudent serve --open                       on this machine only; the page opens in the browser
  nnstudent serve --port 9000 --threads 4      elsewhere on this machine, on four threads
  nnstudent serve --model BUNDLE --keep-hours 2     with a model of your own; scans are deleted two hours after they are done
  nnstudent serve --host 0.0.0.0               reached from other machines too: a token is made, printed, and asked for
  nnstudent serve --limit-upload 500 --limit-disk 5     uploads of at most 500 MB, 5 GB for all scans together
  nnstudent serve --pacs https://pacs.example/dicom-web     studies of a PACS: fetched, segmented, the DICOM-SEG stored in them
  nnstudent serve --pacs URL --dicom-port 11112 --calling-aet SCANNER     and what a scanner sends by C-STORE

Scans wait in a queue that survives a restart, and are segmented one by one. Everybody sees their own only. Nothing is sent anywhere
but to the PACS that is named. Ctrl-C stops it. Not a medical device.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.cli.common import add_threads, positive

if TYPE_CHECKING:
    from socket import socket

    from nnstudent.web.service import Service
    from nnstudent.web.settings import Hospital, Limits, Settings

HELP = "the page in the browser: drag a scan in, look at its organs"
PORT = 8765
WORK = Path("~", ".nnstudent", "serve")
TOKEN = "NNSTUDENT_TOKEN"  # noqa: S105  # the name of a variable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="where to listen (default: 127.0.0.1, this machine only; 0.0.0.0 for all)",
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, help=f"default: {PORT}; 0 for any that is free"
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="a bundle or an nnU-Net model folder; default: the bundled student",
    )
    parser.add_argument(
        "--token",
        help=f"what everybody must show, at least 16 characters; also read from ${TOKEN}; "
        "default: none on this machine only, else one that is made, printed and kept in the work folder",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="another host name that the service is called by",
    )
    parser.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help=f"where scans and results are kept (default: {WORK.as_posix()})",
    )
    parser.add_argument(
        "--keep-hours",
        type=_above_0,
        default=24.0,
        metavar="H",
        help="delete a scan this long after its end (default: 24)",
    )
    parser.add_argument(
        "--limit-upload",
        type=positive,
        default=2000,
        metavar="MB",
        help="largest upload, and archive unpacked (default: 2000)",
    )
    parser.add_argument(
        "--limit-files",
        type=positive,
        default=5000,
        metavar="N",
        help="most files in one upload (default: 5000)",
    )
    parser.add_argument(
        "--limit-jobs",
        type=positive,
        default=100,
        metavar="N",
        help="most scans that wait (default: 100)",
    )
    parser.add_argument(
        "--limit-disk",
        type=positive,
        default=20,
        metavar="GB",
        help="for all scans; the oldest that are done make room (default: 20)",
    )
    parser.add_argument(
        "--limit-minutes",
        type=_above_0,
        default=60.0,
        metavar="M",
        help="give a scan up after this long (default: 60)",
    )
    add_threads(parser)
    _add_hospital(parser)
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def _add_hospital(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pacs",
        metavar="URL",
        help="root of a PACS' DICOMweb service; user and password come from ~/.netrc, or from $NNSTUDENT_PACS_USER and "
        "$NNSTUDENT_PACS_PASSWORD, or a token from $NNSTUDENT_PACS_TOKEN. Whoever uses the service sees what the PACS shows it, so a "
        "token is asked for on this machine too",
    )
    parser.add_argument(
        "--dicom-port",
        type=_port,
        metavar="PORT",
        help="receive CT by C-STORE here (default: not; 0: any free one)",
    )
    parser.add_argument(
        "--dicom-host",
        default="127.0.0.1",
        metavar="HOST",
        help="where to listen for C-STORE (default: 127.0.0.1)",
    )
    parser.add_argument(
        "--aet",
        default="NNSTUDENT",
        help="application entity title of the service (default: NNSTUDENT)",
    )
    parser.add_argument(
        "--calling-aet",
        action="append",
        default=[],
        metavar="AET",
        help="who may send by C-STORE, repeatable (default: all)",
    )
    parser.add_argument(
        "--quiet-seconds",
        type=_above_0,
        default=5.0,
        metavar="S",
        help="a study is complete when nothing came this long (default: 5)",
    )
    parser.add_argument(
        "--send-to",
        metavar="AET@HOST:PORT",
        help="send results there by C-STORE (default: store them in --pacs)",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    import logging

    from nnstudent.errors import require

    for module in ("fastapi", "uvicorn", "python_multipart", "itsdangerous"):
        require(module, extra="web", why="the service")

    from nnstudent.web.access import is_loopback
    from nnstudent.web.service import Service
    from nnstudent.web.sessions import kept_secret
    from nnstudent.web.settings import Settings

    hospital, limits, token = _hospital(args), _limits(args), _token(args)
    made = False
    logging.getLogger("python_multipart").setLevel(
        logging.ERROR
    )  # a malformed form is the sender's matter
    listening = _listen(args.host, args.port)
    port = listening.getsockname()[1]
    with listening:
        work = (args.work or WORK).expanduser().absolute()
        if not token and (args.pacs or not is_loopback(args.host)):
            token, made = kept_secret(work / "token"), True
        settings = Settings(
            work,
            args.model,
            args.threads,
            args.host,
            port,
            token,
            tuple(args.name),
            args.debug,
            limits,
            hospital,
        )
        service = Service(settings)
        try:
            _serve(service, listening, shown=token if made else "", opens=args.open)
        except KeyboardInterrupt:
            pass  # the server has stopped, and raises it again; not where SIGINT was ignored when it began, as in a shell's background
        finally:
            service.stop()
    print("stopped; scans that wait go on when it is started again")
    return 0


def _limits(args: argparse.Namespace) -> Limits:
    from nnstudent.errors import InputError
    from nnstudent.web.settings import GB, Limits

    limits = Limits(
        upload_bytes=args.limit_upload * 10**6,
        files=args.limit_files,
        jobs=args.limit_jobs,
        disk_bytes=args.limit_disk * GB,
        keep_hours=args.keep_hours,
        job_minutes=args.limit_minutes,
    )
    if limits.upload_bytes > limits.disk_bytes:
        raise InputError(
            f"uploads of {args.limit_upload} MB on a disk share of {args.limit_disk} GB; expected room for at least one"
        )
    return limits


def _token(args: argparse.Namespace) -> str:
    """The token that somebody chose, or nothing. It leaves the environment, which other processes would inherit."""
    from nnstudent.errors import InputError
    from nnstudent.web.sessions import TOKEN_LENGTH

    token: str = os.environ.pop(TOKEN, "") if args.token is None else args.token
    if (token or args.token is not None) and len(token) < TOKEN_LENGTH:
        raise InputError(f"a token of {len(token)} characters; expected at least {TOKEN_LENGTH}")
    return token


def _serve(service: Service, listening: socket, *, shown: str, opens: bool) -> None:
    """Say where it is, and answer until stopped. A token is shown only where it was made here; who chose one knows it."""
    from nnstudent.web.app import create_app
    from nnstudent.web.server import make_server

    settings = service.settings
    server = make_server(create_app(service), settings.limits, debug=settings.debug)
    print(f"nnStudent is at {_address(settings, shown)}", flush=True)
    if settings.token and not shown:
        print("it asks for the token that was chosen")
    print("Ctrl-C stops it", flush=True)
    _tell_hospital(service)
    if opens:  # others see a browser's command line, so the address has a key that is good for once
        _open(_address(settings, service.sessions.ticket() if settings.token else ""))
    server.run(sockets=[listening])


def _hospital(args: argparse.Namespace) -> Hospital:
    from nnstudent.errors import InputError
    from nnstudent.web.pacs.credentials import authorization
    from nnstudent.web.settings import Hospital

    if args.calling_aet and args.dicom_port is None:
        raise InputError(
            "--calling-aet without --dicom-port; expected where to listen for those who call"
        )
    return Hospital(
        pacs=args.pacs,
        authorization=authorization(args.pacs) if args.pacs else None,
        peer=args.send_to,
        listen=None if args.dicom_port is None else (args.dicom_host, args.dicom_port),
        title=args.aet,
        callers=tuple(args.calling_aet),
        quiet_seconds=args.quiet_seconds,
    )


def _tell_hospital(service: Service) -> None:
    """Say what the service is joined to, and at once if it is not."""
    import sys
    from urllib.parse import urlsplit

    from nnstudent.web.access import is_loopback
    from nnstudent.web.pacs.errors import PacsError

    joined, hospital = service.hospital, service.settings.hospital
    if joined.receiver is not None and hospital.listen is not None:
        print(
            f"C-STORE: {hospital.title} at {hospital.listen[0]}, port {joined.receiver.port}",
            flush=True,
        )
        if not hospital.callers and not is_loopback(hospital.listen[0]):
            print(
                "warning: whoever reaches that port may send scans; name those who may with --calling-aet",
                file=sys.stderr,
            )
    if joined.pacs is not None:
        address = urlsplit(joined.pacs.url)
        if (
            hospital.authorization
            and address.scheme == "http"
            and not is_loopback(address.hostname or "")
        ):
            print(
                f"warning: {joined.pacs.url} is not encrypted, and is told a password; use https",
                file=sys.stderr,
            )
        try:
            joined.pacs.check()
            print(f"PACS: {joined.pacs.url}", flush=True)
        except PacsError as error:
            print(f"warning: {error}; what is asked for fails until it answers", file=sys.stderr)


def _listen(host: str, port: int) -> socket:
    """A socket that listens; before anything else is done, so that a taken port is one line."""
    import socket

    from nnstudent.errors import InputError

    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=128)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(
            f"{host}, port {port}: cannot listen there ({why}); choose another --port or --host"
        ) from error


def _address(settings: Settings, token: str) -> str:
    """Where the page is; the token stands behind the #, which browsers do not send."""
    import socket

    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        name = socket.gethostname()
    return f"http://{name}:{settings.port}/" + (f"#token={token}" if token else "")


def _open(address: str) -> None:
    """Open the page once the server answers; the socket listens already, so that a browser waits."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text}; expected a whole number from 0 to 65535")
    return int(text)


def _above_0(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}; expected a number above 0")
    return value
