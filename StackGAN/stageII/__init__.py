"""Stage II: a picture of stage I and the sentence again -> a picture of 256x256."""
