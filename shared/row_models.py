"""Forms made of pydantic models: enough for most pipelines whose rows each stand for themselves."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ValidationError

from shared.pipelines.base import InvalidRow, ValidRow
from shared.text import clean, shortened


class ModelForm:
    """The form whose columns are a model's fields: those without a default have to be there, `key` names the row."""

    headerless = False
    may_be_empty = False

    def __init__(self, model: type[BaseModel], *, key: str, header_words: frozenset[str] = frozenset()) -> None:
        self._model, self._key = model, key
        self.columns: tuple[str, ...] = tuple(model.model_fields)
        self.required: tuple[str, ...] = tuple(
            name for name, field in model.model_fields.items() if field.is_required()
        )
        self.header_words = header_words

    def validate(self, cells: Sequence[str | None], extra: dict[str, str]) -> ValidRow | InvalidRow:
        """The row in these cells as the model makes it; cells the row lacks have their default."""
        given = {name: clean(cell) for name, cell in zip(self.columns, cells, strict=True) if cell is not None}
        try:
            row = self._model.model_validate(given).model_dump(mode="json")
        except ValidationError as error:
            return _invalid(error)
        if not (key := str(row[self._key])):
            return InvalidRow(column=self._key, code="input.empty_cell", reason=f"{self._key} is empty.")
        if extra:
            row["extra"] = {clean(name): clean(cell) for name, cell in extra.items()}
        return ValidRow(key=key, input=row)


def _invalid(error: ValidationError) -> InvalidRow:
    fault = error.errors(include_url=False)[0]
    column = str(fault["loc"][0])
    if fault["type"] == "missing":
        return InvalidRow(column=column, code="input.missing_cell", reason=f"The row ends before {column}.")
    said = fault["msg"].removeprefix("Value error, ")
    return InvalidRow(
        column=column, code="input.bad_cell", reason=f"{column} is {shortened(str(fault['input']), 60)!r}: {said}."
    )
