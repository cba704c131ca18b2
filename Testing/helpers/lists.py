"""Choose entries of the panel's lists, as a person does."""


def choose_node(selector, node):
    """Choose a node in a list of the panel by its id; None chooses the first entry, which is no node."""
    index = selector.findData("" if node is None else node.GetID())
    assert index >= 0, f"{node.GetName()} is not offered"
    selector.currentIndex = index


def entries(selector):
    """Return the texts of a list."""
    return [selector.itemText(i) for i in range(selector.count)]
