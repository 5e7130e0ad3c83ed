"""What an inventory says about the page that shows which member answered: the key `web` of hosts of the role `web`."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from nornir_stack.secret import Secret
from nornir_stack.settings import AbsolutePath, Port, Text, form

Identifier = Annotated[str, form(r"[A-Za-z0-9_$]{1,64}", "a plain name: up to 64 letters, digits, _ and $")]


@dataclass(frozen=True, kw_only=True)
class Web:
    """A page that reads one table through the load balancer, as a user who may only read."""

    key: ClassVar[str] = "web"

    page: AbsolutePath = "/var/www/html/index.php"
    database: Identifier
    table: Identifier
    db_host: Text  # a name that the hosts file carries, such as dbcluster1.lab
    db_port: Port = 3306
    user: Text
    password: Secret
