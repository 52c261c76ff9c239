"""What the agent sees of the API: only what concerns its host, kept by watches with field selectors."""

from nephos_agent.watches.listeners import Listeners
from nephos_agent.watches.picture import Watches

__all__ = ["Listeners", "Watches"]
