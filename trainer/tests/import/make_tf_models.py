"""Makes models/tf2onnx_*.onnx: what Keras writes by way of TensorFlow. Run before make_models.py, which computes their vectors.

    pip install tensorflow-cpu tf2onnx
    python make_tf_models.py
"""

import pathlib

import keras
import tensorflow as tf
import tf2onnx
from keras import layers

MODELS = pathlib.Path(__file__).parent / "models"

keras.utils.set_random_seed(1)
image = keras.Input((28, 28, 1))
h = layers.BatchNormalization()(layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")(image))
h = layers.Flatten()(layers.MaxPooling2D(2, padding="same")(h))
h = layers.Dense(16, activation="elu")(h)
encoder = keras.Model(image, [layers.Dense(3, name="z_mean")(h), layers.Dense(3, name="z_log_var")(h)])

z = keras.Input((3,))
h = layers.Reshape((7, 7, 4))(layers.Dense(7 * 7 * 4, activation="relu")(z))
h = layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="leaky_relu")(h)
decoder = keras.Model(z, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(layers.UpSampling2D(2)(h)))

for name, model, shape in [("encoder", encoder, (None, 28, 28, 1)), ("decoder", decoder, (None, 3))]:
    for weight in model.weights:
        if "moving" in weight.path:
            weight.assign(0.5 + tf.abs(tf.random.stateless_normal(weight.shape, [1, 2])))
        else:
            weight.assign(weight + 0.2 * tf.random.stateless_normal(weight.shape, [3, 4]))
    spec = [tf.TensorSpec(shape, tf.float32)]
    function = tf.function(lambda x, model=model: model(x), input_signature=spec)
    tf2onnx.convert.from_function(function, input_signature=spec, opset=13, output_path=str(MODELS / f"tf2onnx_{name}.onnx"))
