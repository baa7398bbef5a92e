"""
A digest as a mail, text and HTML, to those who get alert mails.
"""

from email.message import EmailMessage

from fraudstream.adapters.email import EmailAlertChannel
from fraudstream.adapters.email_message import domain_of
from fraudstream.app.channels import channel
from fraudstream.app.digest import Digest
from fraudstream.app.digest_html import html
from fraudstream.app.digest_words import text, title
from fraudstream.domain.errors import InvalidSettings
from fraudstream.settings import Settings


def digest_mail(digest: Digest, *, sender: str, receivers: tuple[str, ...]) -> EmailMessage:
    """
    Return the mail; one day has one Message-ID, so that a digest sent twice is one mail to whoever looks.
    """
    mail = EmailMessage()
    mail["Subject"] = title(digest)
    mail["From"] = sender
    mail["To"] = ", ".join(receivers)
    mail["Message-ID"] = f"<digest-{digest.day:%Y%m%d}@{domain_of(sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text(digest))
    mail.add_alternative(html(digest), subtype="html")
    return mail


async def send_digest(settings: Settings, digest: Digest) -> int:
    """
    Send the mail and return to how many receivers.

    Raises:
        InvalidSettings: No mail server, sender or receiver is named.
        AlertFailed: The mail server did not take it.
    """
    if settings.smtp_host is None or settings.smtp_from is None or not settings.smtp_to:
        raise InvalidSettings("a digest by mail needs FRAUDSTREAM_SMTP_HOST, FRAUDSTREAM_SMTP_FROM and FRAUDSTREAM_SMTP_TO")
    mails = channel("email", settings)
    assert isinstance(mails, EmailAlertChannel), "the channel email is one"
    await mails.send(digest_mail(digest, sender=settings.smtp_from, receivers=settings.smtp_to))
    return len(settings.smtp_to)
