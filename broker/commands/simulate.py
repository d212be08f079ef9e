"""`fenghuo simulate`: the far ends, for training and tests."""

from __future__ import annotations

from importlib import import_module

from broker.commands.common import Subparsers, run

FAR_ENDS = {
    "smsc": ("channels.sms.simulator", "a short message centre that speaks SMPP 3.4"),
    "village": ("channels.broadcast.simulator", "loudspeaker terminals that verify and play, over MQTT"),
    "app": ("channels.app.simulator", "app installations that follow the stream and acknowledge"),
    "signage": ("channels.signage.simulator", "screens that follow their playlist and report"),
}


def add(commands: Subparsers) -> None:
    """Register the command."""
    parser = commands.add_parser("simulate", help="far ends for training and tests")
    inner = parser.add_subparsers(required=True, metavar="FAR_END")
    for name, (module_name, text) in FAR_ENDS.items():
        module = import_module(module_name)
        far_end = inner.add_parser(name, help=text, description=module.__doc__)
        module.add_arguments(far_end)
        far_end.set_defaults(command=lambda args, module=module: run(module.run(args)))
