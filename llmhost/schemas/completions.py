"""The payload of the legacy `/v1/completions`.

https://platform.openai.com/docs/api-reference/completions/create
"""

from llmhost.schemas.checks import boolean, integer_from, string
from llmhost.schemas.inputs import completion_prompt
from llmhost.schemas.payload import Checked
from llmhost.schemas.sampling import SamplingSchema


class CompletionsSchema(SamplingSchema):
    prompt = Checked(completion_prompt, required=True)
    best_of = Checked(integer_from(0, 20))
    echo = Checked(boolean)
    logprobs = Checked(integer_from(0, 5))
    suffix = Checked(string)
