"""Train the digits network and write ``digits.tflite`` and LiteRT's answers to the held-out images.

Needs a framework that nothing else in Oarlock needs, so give it an environment of its own::

    python3 -m venv /tmp/digits
    /tmp/digits/bin/pip install tensorflow-cpu==2.21.0 ai-edge-litert==2.3.0 scikit-learn tflite
    /tmp/digits/bin/python examples/digits/train.py
"""

from __future__ import annotations

import os


# Read when TensorFlow is imported. oneDNN sums in an order that depends on the processor.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from data import MODEL, held_out, split
from keras import layers


__all__ = ["build", "convert", "main", "run_litert"]

SEED = 1
EPOCHS = 60
BATCH = 32


def build(batch: int | None = None) -> keras.Model:
    """Return the untrained network, for batches of any size or of exactly ``batch``.

    Small, but every kind of layer that a mobile network has: the hardware meets all of them here.
    """
    def norm_relu(x):
        return layers.ReLU()(layers.BatchNormalization()(x))

    image = keras.Input((8, 8, 1), batch_size=batch)
    x = norm_relu(layers.Conv2D(16, 3, padding="same", use_bias=False)(image))

    shortcut = x
    x = norm_relu(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    x = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([shortcut, x]))

    x = norm_relu(layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(x))
    x = norm_relu(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    x = norm_relu(layers.Conv2D(32, 1, use_bias=False)(x))
    x = layers.AveragePooling2D(2)(x)
    x = layers.Dropout(0.3)(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(10, activation="softmax")(x))


def augmented(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """Return an endless supply of the training images, each a little turned, scaled and moved."""
    distort = keras.Sequential([
        layers.RandomRotation(0.04, fill_mode="constant", seed=SEED),
        layers.RandomZoom(0.1, fill_mode="constant", seed=SEED + 1),
        layers.RandomTranslation(0.1, 0.1, fill_mode="constant", seed=SEED + 2),
    ])
    batches = tf.data.Dataset.from_tensor_slices((images, labels))
    batches = batches.shuffle(len(images), seed=SEED).batch(BATCH)
    return batches.map(lambda x, y: (distort(x, training=True), y))


def convert(model: keras.Model, calibration: np.ndarray) -> bytes:
    """Return ``model`` as a full-int8 TFLite file, activations ranged over ``calibration``."""
    # With an open batch the file would hold dynamic shapes.
    single = build(batch=1)
    single.set_weights(model.get_weights())
    converter = tf.lite.TFLiteConverter.from_keras_model(single)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    return converter.convert()


def run_litert(images: np.ndarray) -> np.ndarray:
    """Return the int8 outputs (N, 10) of LiteRT's default kernels for int8 ``images``."""
    interpreter = Interpreter(str(MODEL), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in images:
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result)[0])
    return np.stack(outputs)


def main() -> None:
    """Train, convert, write both files and print the accuracies."""
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    (images, labels), (held_images, held_labels) = split()

    model = build()
    steps = EPOCHS * -(-len(images) // BATCH)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(augmented(images, labels), epochs=EPOCHS, verbose=2)
    predicted = model.predict(held_images, verbose=0).argmax(axis=1)
    print(f"float: {np.mean(predicted == held_labels):.2%} of {len(held_labels)} held-out images")

    MODEL.write_bytes(convert(model, images))
    quantized, _ = held_out()
    outputs = run_litert(quantized)
    np.save(MODEL.with_name("litert_outputs.npy"), outputs)
    print(f"int8:  {np.mean(outputs.argmax(axis=1) == held_labels):.2%} (LiteRT)")
    print(f"{MODEL.name}: {MODEL.stat().st_size} bytes, {model.count_params()} float parameters")


if __name__ == "__main__":
    main()
