"""Segment CT from a page in the browser, alone or for a few people.

  nnstudent serve --open
      for this machine only; opens the page in the browser
  nnstudent serve --port 9000 --threads 4
      on another port, with four threads
  nnstudent serve --model BUNDLE --keep-hours 2
      with your own model; deletes scans two hours after they are done
  nnstudent serve --host 0.0.0.0
      for other machines too; makes a token, prints it, and asks for it
  nnstudent serve --limit-upload 500 --limit-disk 5
      uploads of at most 500 MB, 5 GB for all scans together
  nnstudent serve --pacs https://pacs.example/dicom-web
      studies of a PACS: fetches and segments them, stores the DICOM-SEG there
  nnstudent serve --pacs URL --dicom-port 11112 --calling-aet SCANNER
      and scans that a scanner sends by C-STORE
  nnstudent serve --datastore SCANS --learn PRESET.toml
      scans to correct together, on the page or in 3D Slicer, OHIF and MITK by
      MONAI Label's protocol; the student learns from what was corrected

Scans wait in a queue that survives a restart and are segmented one by one.
Everybody sees only their own. Nothing is sent anywhere but to the PACS that you
name. Ctrl-C stops it. This is not a medical device.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nnstudent.cli.common import add_model, add_threads, positive
from nnstudent.cli.datastore import add_datastore, check_datastore, print_datastore

if TYPE_CHECKING:
    from socket import socket

    from nnstudent.web.service import Service
    from nnstudent.web.settings import Limits, PacsSettings, Settings

HELP = "open the page in the browser: drop a scan, look at its organs"
PORT = 8765
WORK = Path("~", ".nnstudent", "serve")
TOKEN = "NNSTUDENT_TOKEN"  # noqa: S105  # the name of a variable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 for all (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, help=f"0 takes any free port (default: {PORT})"
    )
    add_model(parser)
    add_threads(parser)
    parser.add_argument(
        "--work",
        type=Path,
        metavar="FOLDER",
        help=f"folder for scans and results (default: {WORK.as_posix()})",
    )
    parser.add_argument(
        "--token",
        help=f"secret that everybody must show, at least 16 characters; also read from ${TOKEN} "
        "(default: none on this machine only, otherwise one that is made, printed and kept in "
        "the work folder)",
    )
    parser.add_argument(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="another host name under which the service is reached; repeatable",
    )
    add_datastore(parser.add_argument_group("corrections"))
    _add_limits(parser.add_argument_group("limits"))
    _add_pacs(parser.add_argument_group("PACS and scanners"))


def _add_limits(group: argparse._ArgumentGroup) -> None:
    for option, kind, default, metavar, what in (
        ("--keep-hours", _above_0, 24.0, "H", "hours until a finished scan is deleted"),
        ("--limit-upload", positive, 2000, "MB", "largest upload, and largest unpacked archive"),
        ("--limit-files", positive, 5000, "N", "most files in one upload"),
        ("--limit-jobs", positive, 100, "N", "most scans that wait"),
        ("--limit-disk", positive, 20, "GB", "for all scans; the oldest finished ones make room"),
        ("--limit-minutes", _above_0, 60.0, "M", "minutes after which a scan is given up"),
    ):
        group.add_argument(
            option,
            type=kind,
            default=default,
            metavar=metavar,
            help=f"{what} (default: {default:g})",
        )


def _add_pacs(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--pacs",
        metavar="URL",
        help="root of a PACS' DICOMweb service; user and password come from ~/.netrc, or from "
        "$NNSTUDENT_PACS_USER and $NNSTUDENT_PACS_PASSWORD, or a token from "
        "$NNSTUDENT_PACS_TOKEN. Everybody who uses the service sees what the PACS shows it, so a "
        "token is asked for on this machine too",
    )
    group.add_argument(
        "--dicom-port",
        type=_port,
        metavar="PORT",
        help="receive CT by C-STORE on this port; 0 takes any free one (default: do not receive)",
    )
    group.add_argument(
        "--dicom-host",
        default="127.0.0.1",
        metavar="HOST",
        help="address to listen on for C-STORE (default: 127.0.0.1)",
    )
    group.add_argument(
        "--aet",
        default="NNSTUDENT",
        help="application entity title of the service (default: NNSTUDENT)",
    )
    group.add_argument(
        "--calling-aet",
        action="append",
        default=[],
        metavar="AET",
        help="title of a sender that may use C-STORE; repeatable (default: all)",
    )
    group.add_argument(
        "--quiet-seconds",
        type=_above_0,
        default=5.0,
        metavar="S",
        help="a study is complete when nothing arrived for this long (default: 5)",
    )
    group.add_argument(
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

    from nnstudent.io.dicom.read import stay_quiet
    from nnstudent.web.access import is_loopback
    from nnstudent.web.service import Service
    from nnstudent.web.sessions import load_or_create_secret
    from nnstudent.web.settings import Settings

    stay_quiet()
    pacs, limits, token = _pacs(args), _limits(args), _token(args)
    check_datastore(args)
    made = False
    # A malformed form is the sender's business.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    listening = _listen(args.host, args.port)
    with listening:
        work = (args.work or WORK).expanduser().absolute()
        if not token and (args.pacs or not is_loopback(args.host)):
            token, made = load_or_create_secret(work / "token"), True
        settings = Settings(
            work,
            model=args.model,
            threads=args.threads,
            host=args.host,
            port=listening.getsockname()[1],
            token=token,
            names=tuple(args.name),
            debug=args.debug,
            limits=limits,
            pacs=pacs,
            datastore=args.datastore,
            preset=args.learn,
            rehearsal=args.rehearse,
            origins=tuple(args.allow_origin),
        )
        service = Service(settings)
        try:
            _serve(service, listening, shown=token if made else "", opens=args.open)
        except KeyboardInterrupt:
            # The server has stopped and raises it again, unless SIGINT was ignored at the start, as
            # in a shell's background.
            pass
        finally:
            service.stop()
    print("stopped; waiting scans are segmented when it is started again")
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
            f"--limit-upload {args.limit_upload} (MB) is more than --limit-disk "
            f"{args.limit_disk} (GB); expected room for at least one upload"
        )
    return limits


def _token(args: argparse.Namespace) -> str:
    """Return the token that somebody chose, or nothing.

    It is removed from the environment, which other processes would inherit.
    """
    from nnstudent.errors import InputError
    from nnstudent.web.sessions import TOKEN_LENGTH

    token: str = os.environ.pop(TOKEN, "") if args.token is None else args.token
    if (token or args.token is not None) and len(token) < TOKEN_LENGTH:
        raise InputError(f"a token of {len(token)} characters; expected at least {TOKEN_LENGTH}")
    return token


def _serve(service: Service, listening: socket, *, shown: str, opens: bool) -> None:
    """Print the address and answer until stopped.

    Args:
        service: The service.
        listening: Its socket.
        shown: The token if it was made here; whoever chose one knows it.
        opens: Whether to open the page in the browser.
    """
    from nnstudent.web.app import create_app
    from nnstudent.web.server import make_server

    settings = service.settings
    server = make_server(create_app(service), settings.limits, debug=settings.debug)
    print(f"nnStudent is at {_address(settings, shown)}", flush=True)
    if settings.token and not shown:
        print("it asks for the token that you chose")
    print("Ctrl-C stops it", flush=True)
    print_datastore(service)
    _print_pacs(service)
    if opens:  # others can see a browser's command line, so the address has a key that works once
        _open(_address(settings, service.sessions.new_ticket() if settings.token else ""))
    server.run(sockets=[listening])


def _pacs(args: argparse.Namespace) -> PacsSettings:
    from nnstudent.errors import InputError
    from nnstudent.web.pacs.credentials import authorization
    from nnstudent.web.settings import PacsSettings

    if args.calling_aet and args.dicom_port is None:
        raise InputError("--calling-aet without --dicom-port; give the port on which to receive")
    return PacsSettings(
        url=args.pacs,
        authorization=authorization(args.pacs) if args.pacs else None,
        peer=args.send_to,
        listen=None if args.dicom_port is None else (args.dicom_host, args.dicom_port),
        title=args.aet,
        callers=tuple(args.calling_aet),
        quiet_seconds=args.quiet_seconds,
    )


def _print_pacs(service: Service) -> None:
    """Print what the service is connected to, and warn at once if it is not."""
    from urllib.parse import urlsplit

    from nnstudent.web.access import is_loopback
    from nnstudent.web.pacs.errors import PacsError

    connection, settings = service.pacs, service.settings.pacs
    if connection.receiver is not None and settings.listen is not None:
        print(
            f"C-STORE: {settings.title} at {settings.listen[0]}, port {connection.receiver.port}",
            flush=True,
        )
        if not settings.callers and not is_loopback(settings.listen[0]):
            print(
                "warning: everybody who reaches this port may send scans; name the senders with "
                "--calling-aet",
                file=sys.stderr,
            )
    if connection.client is not None:
        address = urlsplit(connection.client.url)
        if (
            settings.authorization
            and address.scheme == "http"
            and not is_loopback(address.hostname or "")
        ):
            print(
                f"warning: {connection.client.url} is not encrypted, and a password is sent to it; "
                "use https",
                file=sys.stderr,
            )
        try:
            connection.client.check()
            print(f"PACS: {connection.client.url}", flush=True)
        except PacsError as error:
            print(f"warning: {error}; requests fail until it answers", file=sys.stderr)


def _listen(host: str, port: int) -> socket:
    """Return a socket that listens; done first, so that a taken port is reported in one line."""
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
    """Return the page's address; the token stands behind the #, which browsers do not send."""
    import socket

    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        name = socket.gethostname()
    return f"http://{name}:{settings.port}/" + (f"#token={token}" if token else "")


def _open(address: str) -> None:
    """Open the page; the socket already listens, so that the browser waits for the server."""
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
