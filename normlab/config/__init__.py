"""What a run is made of: a tree of frozen dataclasses, with every default and every range check.

The field names are the words of the command line, of `config.yaml` and of wandb. Groups that have a table
of variants (`norm`, `placement`, ...) take a row of it; `conf/config.yaml` names the default rows.
"""

from normlab.config.measuring import FAULT_KINDS as FAULT_KINDS
from normlab.config.measuring import MEASURED as MEASURED
from normlab.config.measuring import PASSES as PASSES
from normlab.config.measuring import TRACKER_MODES as TRACKER_MODES
from normlab.config.measuring import WHEN as WHEN
from normlab.config.measuring import FaultConfig as FaultConfig
from normlab.config.measuring import MeasureConfig as MeasureConfig
from normlab.config.measuring import TrackerConfig as TrackerConfig
from normlab.config.model import POSITIONS as POSITIONS
from normlab.config.model import ActivationConfig as ActivationConfig
from normlab.config.model import FFNConfig as FFNConfig
from normlab.config.model import InitConfig as InitConfig
from normlab.config.model import ModelConfig as ModelConfig
from normlab.config.model import NormConfig as NormConfig
from normlab.config.placement import PLACES as PLACES
from normlab.config.placement import PROJECTIONS as PROJECTIONS
from normlab.config.placement import WEIGHTS as WEIGHTS
from normlab.config.placement import ExceptionConfig as ExceptionConfig
from normlab.config.placement import PlacementConfig as PlacementConfig
from normlab.config.run import RETRIES as RETRIES
from normlab.config.run import RunConfig as RunConfig
from normlab.config.run import SweepConfig as SweepConfig
from normlab.config.sublayer import SCALES as SCALES
from normlab.config.sublayer import SUBLAYER_WORDS as SUBLAYER_WORDS
from normlab.config.sublayer import ScaleConfig as ScaleConfig
from normlab.config.sublayer import SublayerConfig as SublayerConfig
from normlab.config.thresholds import DivergenceConfig as DivergenceConfig
from normlab.config.thresholds import EntropyCollapseConfig as EntropyCollapseConfig
from normlab.config.thresholds import ExplosionConfig as ExplosionConfig
from normlab.config.thresholds import FrozenConfig as FrozenConfig
from normlab.config.thresholds import LogitGrowthConfig as LogitGrowthConfig
from normlab.config.thresholds import MassiveActivationConfig as MassiveActivationConfig
from normlab.config.thresholds import PlateauConfig as PlateauConfig
from normlab.config.thresholds import SlowDivergenceConfig as SlowDivergenceConfig
from normlab.config.thresholds import SpikeConfig as SpikeConfig
from normlab.config.thresholds import VanishingConfig as VanishingConfig
from normlab.config.training import DECAYS as DECAYS
from normlab.config.training import DEVICES as DEVICES
from normlab.config.training import LENGTHS as LENGTHS
from normlab.config.training import OBJECTIVES as OBJECTIVES
from normlab.config.training import PAD as PAD
from normlab.config.training import PARALLELS as PARALLELS
from normlab.config.training import PRECISIONS as PRECISIONS
from normlab.config.training import CheckpointConfig as CheckpointConfig
from normlab.config.training import DataConfig as DataConfig
from normlab.config.training import OptimizerConfig as OptimizerConfig
from normlab.config.training import ScheduleConfig as ScheduleConfig
from normlab.config.training import TrainConfig as TrainConfig
