"""BiSeNet V2 semantic segmentation for ROS 2."""

from pkgutil import extend_path

# The generated messages (bisenet_ros.msg) exist only where colcon installed them. Joining all
# folders of this name on sys.path lets a source tree and the built overlay act as one package.
__path__ = extend_path(__path__, __name__)
