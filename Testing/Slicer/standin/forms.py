"""Small .ui files, written in tests."""

FORM = """<ui version="4.0"><class>P</class><widget class="qMRMLWidget" name="P"><layout class="QVBoxLayout" name="l">
{items}</layout></widget><connections>{connections}</connections></ui>"""
ITEM = '<item><widget class="{kind}" name="{name}">{properties}</widget></item>'
CONNECTION = "<connection><sender>{}</sender><signal>{}</signal><receiver>{}</receiver><slot>{}</slot></connection>"
SCENE = ("P", "mrmlSceneChanged(vtkMRMLScene*)", "nodes", "setMRMLScene(vtkMRMLScene*)")


def item(kind, name, parameter="", properties=""):
    if parameter:
        properties += f'<property name="SlicerParameterName" stdset="0"><string>{parameter}</string></property>'
    return ITEM.format(kind=kind, name=name, properties=properties)


def form(*items, connection=None):
    return FORM.format(items="".join(items), connections=CONNECTION.format(*connection) if connection else "")
