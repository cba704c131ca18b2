"""Whether people who do not see a page, or not all of it, can use it: the rules of axe-core (WCAG 2, best practice)."""

from axe_playwright_python.sync_playwright import Axe

from helpers.browser import View


def violations(view: View) -> list[str]:
    """One sentence for each element that breaks a rule; empty for a page that is in order.

    The contrast of texts in drawings, and of those that are scrolled out of sight, axe-core cannot tell: it is silent.
    """
    found = Axe().run(view.page).response["violations"]
    return [
        f"{rule['id']}: {rule['help']}: {' '.join(map(str, node['target']))}: {node['html'][:160]}"
        for rule in found
        for node in rule["nodes"]
    ]
