"""The defaults of SRNet under the original's names, in this one place; train.py has a flag for each of them."""

# Loss: the weights of equations 1 to 8
lt = 10.0  # text conversion (the original: 1, by which fusion has twice its say in how o_t is drawn)
lt_alpha = 1.0  # of its masked L1
lt_beta = 1.0  # of the skeleton's cross-entropy, which the original has not: dice alone ends in white blobs
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
batch_statistics = True  # the generator's normalisation; the original's never has any, so that it scales and shifts
guided_steps = 0  # until then the standard word stands closer to the styled one's place, less and less
test_max_iter = 500  # of test/train_performance_1p.sh
show_loss_interval = 50
write_log_interval = 50
save_ckpt_interval = 10000  # a checkpoint that is kept for good
save_latest_interval = 500  # one to go on from, of which the newest three are kept (the original has none)
gen_example_interval = 1000
pretrained_ckpt_path = None
train_name = None  # of the folder with the examples; None: of its time

# Data
batch_size = 8
data_shape = (64, 128)  # height and width, multiples of 8
