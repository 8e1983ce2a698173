"""The one error of the native stack that a person reads."""


class StackError(RuntimeError):
    """Something about the machine or the stack is wrong; the message says what, where and the mend."""
