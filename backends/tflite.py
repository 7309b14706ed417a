class TfLite:
    name = "tflite"

    def missing(self):
        return "todo"
