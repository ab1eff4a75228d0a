"""Images, labelled folders and the generated data set; no TensorFlow except where named."""
