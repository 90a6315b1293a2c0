"""What each strategy is called over the wire, and what a backtest of it may be told.

Belongs here: names, defaults and limits. Keep out: arithmetic, and how a body is read. Made from
the kernels' own list of strategies: a new one needs a line here only where the API calls one of its
parameters otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from kernels.backtest_orders import Account
from kernels.indicator import Parameter
from kernels.strategies import STRATEGIES, Strategy
from market.errors import InputError
from serving.compute.contracts import malformed, parameter_fault, unknown
from serving.errors import Detail

_RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "sma_crossover": {"fast": "fast_period", "slow": "slow_period"},
    "bollinger_reversion": {"width": "std_dev"},
    "donchian_breakout": {"entry": "entry_period", "leave": "exit_period"},
}
_METHODS: Final[Mapping[str, tuple[str, ...]]] = {"rsi_reversal": ("cutler", "wilder")}
DIRECTIONS: Final = ("long", "short", "both")
SESSIONED: Final = frozenset({"opening_range_breakout"})

_HALF: Final = 0.5  # what a fill may cost at most
_ACCOUNT: Final = Account()


def _amount(name: str, default: float, least: float, most: float) -> Parameter:
    return Parameter(name, default, least, most, is_integer=False)


ACCOUNT: Final[Mapping[str, Parameter]] = {
    "initial_capital": _amount("initial_capital", _ACCOUNT.initial_capital, 0.01, 1e15),
    "position_size": _amount("position_size", _ACCOUNT.position_size, 1e-6, 1.0),
    "transaction_cost": _amount("commission", _ACCOUNT.commission, 0.0, _HALF),
    "slippage": _amount("slippage", _ACCOUNT.slippage, 0.0, _HALF),
    "lot_size": _amount("lot_size", _ACCOUNT.lot_size, 0.0, 1e9),
}
"""The account's parameters by the API's names."""


@dataclass(frozen=True, slots=True)
class StrategyContract:
    """One strategy as the API speaks of it: its numbers by the API's names, and its words."""

    strategy: Strategy
    numbers: Mapping[str, Parameter]
    words: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """What requests call it."""
        return self.strategy.name

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every parameter that a run takes."""
        return (*self.numbers, *self.words, *ACCOUNT)

    def resolved(
        self, given: Mapping[str, Any], inside: str = "parameters."
    ) -> dict[str, float | str]:
        """Return every parameter by the API's name, the default where none is given.

        Raise ``MalformedRequestError`` for an unknown name, another type or a value beyond the
        limits, field by field.
        """
        wrong = list(self._faults(given, inside))
        if wrong:
            raise malformed(wrong)
        out: dict[str, float | str] = {}
        for name in self.parameters:
            if name in self.words:
                out[name] = given.get(name, self.words[name][0])
            else:
                parameter = self._number(name)
                value = given.get(name, parameter.default)
                out[name] = int(value) if parameter.is_integer else float(value) + 0.0  # one zero
        return out

    def checked_axis(self, name: str, values: Sequence[Any], inside: str) -> list[float]:
        """Return the values of a sweep's axis; raise as ``resolved``."""
        if name not in self.numbers:
            raise malformed(
                [Detail(f"{inside}{name}", unknown(name, self.numbers), "EXTRA_FORBIDDEN")]
            )
        parameter, wrong = self.numbers[name], []
        for i, value in enumerate(values):
            fault = parameter_fault(parameter, value)
            if fault is not None:
                wrong.append(Detail(f"{inside}{name}.{i}", *fault))
        if wrong:
            raise malformed(wrong)
        out = [int(x) if parameter.is_integer else float(x) + 0.0 for x in values]
        if len(set(out)) < len(out):
            twice = next(x for x in out if out.count(x) > 1)
            message = f"expected different values, was {twice} twice"
            raise malformed([Detail(f"{inside}{name}", message, "DUPLICATE")])
        return out

    def for_kernel(self, parameters: Mapping[str, float | str]) -> dict[str, Any]:
        """Return the strategy's own parameters by the kernel's names."""
        numbers = {p.name: parameters[name] for name, p in self.numbers.items()}
        return numbers | {name: parameters[name] for name in self.words}

    def check_length(self, parameters: Mapping[str, Any], bars: int, inside: str) -> None:
        """Raise ``InputError`` if a parameter asks for more bars than there are."""
        for name, parameter in self.numbers.items():
            if parameter.is_integer and parameters.get(name, 0) > bars:
                raise InputError(
                    f"{inside}{name}: expected at most the number of bars ({bars}), "
                    f"was {parameters[name]}"
                )

    def refusal(self, error: ValueError) -> InputError:
        """Return a kernel's refusal, by the API's names."""
        names, colon, rest = str(error).partition(": ")
        api = {p.name: f"parameters.{name}" for name, p in self.numbers.items()}
        told = ", ".join(api.get(name, name) for name in names.split(", "))
        return InputError(f"{told}{colon}{rest}")

    def _number(self, name: str) -> Parameter:
        return self.numbers[name] if name in self.numbers else ACCOUNT[name]

    def _faults(self, given: Mapping[str, Any], inside: str) -> Iterator[Detail]:
        for name, value in given.items():
            field = f"{inside}{name}"
            if name not in self.parameters:
                yield Detail(field, unknown(name, self.parameters), "EXTRA_FORBIDDEN")
            elif name in self.words:
                if not isinstance(value, str) or value not in self.words[name]:
                    said = repr(value[:40]) if isinstance(value, str) else type(value).__name__
                    expected = f"expected one of {', '.join(self.words[name])}, was {said}"
                    yield Detail(field, expected, "ENUM")
            else:
                fault = parameter_fault(self._number(name), value)
                if fault is not None:
                    yield Detail(field, *fault)


def account_of(parameters: Mapping[str, Any]) -> Account:
    """Return the account that resolved parameters describe."""
    return Account(**{p.name: parameters[name] for name, p in ACCOUNT.items()})


def strategy_of(name: object) -> StrategyContract:
    """Return a strategy's contract; raise ``MalformedRequestError`` if there is none."""
    if not isinstance(name, str):
        raise malformed([Detail("strategy_id", "expected a string", "STRING_TYPE")])
    if name not in CONTRACTS:
        raise malformed([Detail("strategy_id", unknown(name, CONTRACTS), "UNKNOWN_STRATEGY")])
    return CONTRACTS[name]


def _contract(strategy: Strategy) -> StrategyContract:
    renamed = _RENAMED.get(strategy.name, {})
    methods = _METHODS.get(strategy.name)
    return StrategyContract(
        strategy,
        numbers={renamed.get(p.name, p.name): p for p in strategy.parameters},
        words=({"method": methods} if methods else {}) | {"direction": DIRECTIONS},
    )


CONTRACTS: Final[Mapping[str, StrategyContract]] = {
    strategy.name: _contract(strategy) for strategy in STRATEGIES.values()
}
