"""A whole agent in Python, for the tests: it logs, asks a model, writes a note and answers."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.agent import Answer, Limits, Manifest, Outcome_Answer, Wants
from wit_world.imports import log, model, vault
from wit_world.imports.types import ActionClass, Error_Denied


class Agent(exports.Agent):
    def describe(self):
        return Manifest(
            id="py-greeter",
            name="Python greeter",
            emoji="🐍",
            version="0.1.0",
            purpose="Greets in a note, to show that an agent can be written in Python.",
            mode="executor",
            local_only=False,
            class_floor=ActionClass.A,
            wants=Wants(
                models=["local-p40"],
                tools=[],
                vault_read=[],
                vault_write=["inbox/drafts/note-*.md"],
                memory="none",
                approvals=False,
                handoff=[],
            ),
            limits=Limits(
                memory_mib=128,
                cpu_ms=5000,
                wall_s=120,
                host_calls=10,
                output_tokens=200,
                usd_micros=0,
                journal_kib=256,
                log_kib=16,
            ),
            persona="You greet people in one short sentence.",
            examples=["greet the new neighbour"],
            extra=[],
        )

    def handle(self, brief):
        try:
            return greet(brief.task)
        except Err as refused:
            return answer(f"refused: {said(refused.value)}", [])


def greet(task):
    log.line(log.Level.INFO, "greeting", [("task", task.id)])
    reply = model.complete(question(task.content))
    path = f"inbox/drafts/note-{task.id}.md"
    vault.write(path, [("kind", "greeting")], f"{reply.text}\n")
    return answer(f"py says: {reply.text}", [path])


def question(text):
    return model.Request(
        group="local-p40",
        messages=[model.Message(role=model.Role.USER, text=text, calls=[], answers=None)],
        tools=[],
        schema=None,
        temperature=None,
        max_output_tokens=50,
        extra=[],
    )


def answer(text, wrote):
    return Outcome_Answer(Answer(text=text, data=None, citations=[], wrote=wrote))


def said(error):
    """The rule of a denial; of any other error its text."""
    return error.value.rule if isinstance(error, Error_Denied) else error.value
