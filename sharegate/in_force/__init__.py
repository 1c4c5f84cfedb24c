"""Which rules and members are in force: read, verified, recorded, and only then put into force."""

from sharegate.in_force.force import InForce
from sharegate.in_force.judge import Judge, Rules
from sharegate.in_force.members import load_members
from sharegate.in_force.memory import SetMemory

__all__ = ["InForce", "Judge", "Rules", "SetMemory", "load_members"]
