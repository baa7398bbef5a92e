"""
The text of ``.env.example``.
"""

from fraudstream.settings.declared import CATALOGUE, as_text

#: What ``docker-compose.yml`` asks for; it refuses to start without.
_EXAMPLE_HEAD = """\
# Every setting of fraudstream. Copy to .env, which Docker Compose reads; elsewhere export what you change.
# A command-line option wins over FRAUDSTREAM_*, which wins over the names without the prefix.

# --- Docker Compose: required, no defaults ---
# For each: openssl rand -hex 24
REDIS_PASSWORD=
POSTGRES_PASSWORD=
GRAFANA_PASSWORD="""


def example() -> str:
    """
    Write ``.env.example``: every setting with its sentence and default, commented out, under what Docker Compose requires.
    """
    lines = [_EXAMPLE_HEAD]
    section = ""
    for setting in CATALOGUE.values():
        if setting.section != section:
            section = setting.section
            lines += ["", f"# --- {section} ---"]
        also = f" Also {setting.variables[1]}." if len(setting.variables) > 1 else ""
        file = f" Or {setting.variables[0]}_FILE, the path of a file that holds it." if setting.secret else ""
        lines += ["", f"# {setting.sentence}{also}{file}", f"#{setting.variables[0]}={as_text(setting.default)}"]
    return "\n".join(lines) + "\n"
