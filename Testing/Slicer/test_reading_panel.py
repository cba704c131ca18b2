"""The panel of GTR Reading, from its real .ui: a study is read in it, and its log is looked at."""


def test_the_selftest_passes(desk, reading_panel):
    from GTRReading import GTRReadingTest

    GTRReadingTest().runTest()
