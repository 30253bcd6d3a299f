"""A prediction: its likeliest classes, in code and on the screen."""

from resnet50.inference.prediction import Prediction


def test_the_likeliest_classes_come_first() -> None:
    prediction = Prediction("b", {"a": 0.2, "b": 0.5, "c": 0.3})
    assert prediction.top(2) == [("b", 0.5), ("c", 0.3)]
    assert prediction.confidence == 0.5


def test_a_prediction_prints_its_likeliest_classes() -> None:
    prediction = Prediction("b", {"a": 0.2, "b": 0.5, "c": 0.25, "d": 0.05}, "x/1.jpg")
    assert str(prediction) == "x/1.jpg: b 50.0%, c 25.0%, a 20.0%"
    assert repr(Prediction("b", {"b": 1.0})) == "Prediction(b 100.0%)"


def test_class_names_are_text_in_the_html_of_a_prediction() -> None:
    html = Prediction("<b>", {"<b>": 1.0}, "<i>.jpg")._repr_html_()
    assert "&lt;b&gt;" in html
    assert "&lt;i&gt;.jpg" in html
    assert "<b>" not in html


def test_predictions_are_equal_wherever_the_image_came_from() -> None:
    assert Prediction("a", {"a": 1.0}, "1.jpg") == Prediction("a", {"a": 1.0})
