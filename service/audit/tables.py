"""The tables of the audit log, for those who fill, prune and verify it."""

from service.database import table
from service.models import AuditEntry, AuditInstance

AUDIT_LOG = table(AuditEntry)
INSTANCES = table(AuditInstance)
