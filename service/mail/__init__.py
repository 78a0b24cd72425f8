"""The mails: their text and links, and the SMTP conversation with the relay."""
