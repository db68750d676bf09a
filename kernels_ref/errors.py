"""The one exception that means: the user made a mistake, and the message says what would be
right."""


class UserError(Exception):
    """Shown without a traceback; the command line exits with 1."""
