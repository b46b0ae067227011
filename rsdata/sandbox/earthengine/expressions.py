"""Evaluates an expression graph: nodes to values, once for each shared node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rsdata.sandbox.earthengine.discovery import signatures
from rsdata.sandbox.earthengine.values import Args, RequestError

Function = Callable[[Args], Any]
Scope = Mapping[str, Any]
_MISSING = object()


@dataclass
class Expression:
    """One graph and what is known of it so far.

    Raises:
        RequestError: on any method, where the graph is not sound or a function refuses.
    """

    values: Mapping[str, Any]
    functions: Mapping[str, Function]
    _done: dict[str, Any] = field(default_factory=dict)
    _free: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(cls, expression: Any, functions: Mapping[str, Function]) -> tuple[Expression, str]:
        """From a request: the graph and the key of its result."""
        if not isinstance(expression, dict) or not isinstance(expression.get("values"), dict):
            raise RequestError("Invalid expression: expected an object with 'result' and 'values'.")
        result = expression.get("result")
        if not isinstance(result, str):
            raise RequestError("Invalid expression: 'result' must be a key of 'values'.")
        return cls(expression["values"], functions), result

    def key(self, key: Any, scope: Scope) -> Any:
        """The value of a key."""
        if key not in self.values:
            raise RequestError(f"Invalid expression: value reference {key!r} not found.")
        closed = not scope or not self._open(key)
        if closed and key in self._done:
            return self._done[key]
        value = self.node(self.values[key], scope)
        if closed:
            self._done[key] = value
        return value

    def node(self, node: Any, scope: Scope) -> Any:
        """The value of a node."""
        if not isinstance(node, dict) or len(node) != 1:
            raise RequestError("Invalid expression: a node must be an object with one field.")
        ((kind, content),) = node.items()
        match kind:
            case "constantValue":
                return content
            case "integerValue":
                return int(content)
            case "bytesValue":
                return content
            case "valueReference":
                return self.key(content, scope)
            case "arrayValue":
                return [self.node(each, scope) for each in content.get("values", [])]
            case "dictionaryValue":
                return {name: self.node(each, scope) for name, each in content.get("values", {}).items()}
            case "argumentReference":
                value = scope.get(content, _MISSING)
                if value is _MISSING:
                    raise RequestError(f"Invalid expression: argument reference {content!r} is not bound.")
                return value
            case "functionDefinitionValue":
                return self._definition(content, scope)
            case "functionInvocationValue":
                return self._call(content, scope)
        raise RequestError(f"Invalid expression: unknown node {kind!r}.")

    def _definition(self, content: Mapping[str, Any], scope: Scope) -> Callable[..., Any]:
        names, body = list(content.get("argumentNames", [])), content["body"]

        def function(*values: Any) -> Any:
            # A function may take fewer arguments than it is given; one without a value is said where it is used.
            return self.key(body, {**scope, **dict(zip(names, values, strict=False))})

        return function

    def _call(self, content: Mapping[str, Any], scope: Scope) -> Any:
        given = content.get("arguments", {})
        if "functionReference" in content:
            function = self.key(content["functionReference"], scope)
            if not callable(function):
                raise RequestError("Invalid expression: a function reference must name a function.")
            return function(*(self.node(each, scope) for each in given.values()))
        name = str(content.get("functionName"))
        known = self.functions.get(name)
        if known is None:
            raise RequestError(f"Unknown function '{name}'.")
        allowed = signatures().get(name, {})
        for argument in given:
            if allowed and argument not in allowed:
                raise RequestError(
                    f"{name}: Unrecognized argument '{argument}'; known: {', '.join(allowed)}."
                )
        return known(Args(name, {argument: self.node(each, scope) for argument, each in given.items()}))

    def _open(self, key: str) -> bool:
        """Whether a value depends on arguments of functions round it."""
        if key not in self._free:
            self._free[key] = False  # a graph that refers to itself ends in RecursionError elsewhere
            self._free[key] = self._looks_open(self.values.get(key))
        return self._free[key]

    def _looks_open(self, node: Any) -> bool:
        if isinstance(node, list):
            return any(self._looks_open(each) for each in node)
        if not isinstance(node, dict):
            return False
        if "argumentReference" in node:
            return True
        if "constantValue" in node:
            return False
        if isinstance(node.get("valueReference"), str):
            return self._open(node["valueReference"])
        definition = node.get("functionDefinitionValue")
        if isinstance(definition, dict):
            return self._open(definition.get("body", ""))
        reference = node.get("functionReference")
        if isinstance(reference, str) and self._open(reference):
            return True
        return any(self._looks_open(each) for each in node.values())
