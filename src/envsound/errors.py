"""The one error a reader of this study is meant to see."""


class InputError(ValueError):
    """A request that cannot be met; the message names the file or parameter and what was expected."""
