"""The defaults of SRNet under the original's names, in this one place; train.py has a flag for each of them."""

# Loss: the weights of equations 1 to 8. Names that the original has mean what they mean there.
lt = 10.0  # text conversion (the original: 1, at which the fusion's gradient on o_t is twice its own)
lt_alpha = 1.0  # of the skeleton's dice
lt_l1 = 1.0  # of the masked L1 of o_t (the original has no name for it)
lt_cross_entropy = 1.0  # of the skeleton's cross-entropy (not in the original: dice alone ends in white blobs)
lt_mask = 0.0  # of o_t's mask (not in the original)
lb = 1.0  # background inpainting
lb_beta = 10.0  # of its L1
lf = 1.0  # fusion
lf_theta_1 = 10.0  # of its L1
lf_theta_2 = 1.0  # of the perceptual term
lf_theta_3 = 500.0  # of the style term

# Networks
cnum = 32  # channels of the first layers

# Training
learning_rate = 1e-4
decay_rate = 0.9
decay_steps = 10000
staircase = False
beta1 = 0.9
beta2 = 0.999
max_iter = 20000
test_max_iter = 500  # of test/train_performance_1p.sh
show_loss_interval = 50
write_log_interval = 50
save_ckpt_interval = 10000  # a checkpoint that is kept for good
save_latest_interval = 500  # one to go on from, of which the newest three are kept (the original has none)
gen_example_interval = 1000
pretrained_ckpt_path = None
train_name = None  # a folder of its own for the sheets of examples

# Data
batch_size = 8
data_shape = (64, 128)  # height and width, multiples of 8
