"""One of several consoles at work at once: python bulk_add.py NAME... adds a server under each name."""
import sys

from llmhost.app import create_app

runner = create_app().test_cli_runner()
for name in sys.argv[1:]:
    added = runner.invoke(args=['servers', 'add', name, 'http://127.0.0.1:9', '--no-check', '--model', f'model-of-{name}'])
    if added.exit_code:
        sys.exit(f'{name}: {added.output}')
