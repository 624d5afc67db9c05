"""Puts this folder on the path, for the helpers that test modules of several folders share."""

import signal


# What a shell starts in the background (`make test &`, some CI runners) ignores SIGINT, and so do
# its children: those that tests interrupt would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
