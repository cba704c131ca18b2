"""Check the accessibility of a page by the rules of axe-core (WCAG 2, best practice)."""

from axe_playwright_python.sync_playwright import Axe

from helpers.browser import View


def violations(view: View) -> list[str]:
    """Return one sentence for each element that violates a rule.

    axe-core does not check the contrast of text in drawings and of text scrolled out of view.
    """
    found = Axe().run(view.page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {' '.join(map(str, node['target']))}: {node['html'][:160]}"
        for rule in found
        for node in rule["nodes"]
    ]
