"""Run your own cloud on few machines, safely. The engine: inventory, connections, chains, reports."""
