"""Stage II: an image of stage I and the sentence again -> an image of 256x256."""
