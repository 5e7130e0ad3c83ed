"""What an inventory says of the cloud's own load balancers (Octavia): the key `balancers` of the host of the role cloud."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import Field, Strict

from nornir_stack.settings import Address, Count, Port, Text

Weight = Annotated[int, Strict(), Field(ge=0, le=256)]  # 0: no new connections


@dataclass(frozen=True, kw_only=True)
class Balancer:
    """One load balancer with a TCP listener, its pool and members. It is of `project`, its address in `subnet`.

    `vip` is its address (any of the subnet, if not given), `external` the network that it gets a floating address of.
    A member is tried by a TCP connection every `delay` seconds, for `timeout`; `retries` failures take it out.
    """

    project: Text
    subnet: Text | None = None  # the project's, by its name, if not given
    vip: Address | None = None
    external: Text | None = None
    port: Port = 3306
    algorithm: Literal["ROUND_ROBIN", "LEAST_CONNECTIONS", "SOURCE_IP"] = "ROUND_ROBIN"
    members: Mapping[Address, Weight]
    delay: Count = 5
    timeout: Count = 3
    retries: Annotated[int, Strict(), Field(ge=1, le=10)] = 3

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("members: a load balancer without members serves nobody")
        if self.vip in self.members:
            raise ValueError(f"members: {self.vip} is the load balancer's own address")
        if self.timeout >= self.delay:
            raise ValueError(f"timeout: {self.timeout} s is not less than the delay of {self.delay} s between two trials")
        if not any(self.members.values()):
            raise ValueError("members: all have the weight 0, so none is given a connection")


@dataclass(frozen=True, kw_only=True)
class Balancers:
    """Load balancers by their names."""

    key: ClassVar[str] = "balancers"

    balancers: Mapping[Text, Balancer] = field(default_factory=dict)
