"""Any bundle as the driver of NVIDIA's AlpaSim: the gRPC service `egodriver.EgodriverService`, of which no code is in here.

`server` imports grpc and AlpaSim's own `alpasim_grpc`; a user who has neither has everything else.
"""
