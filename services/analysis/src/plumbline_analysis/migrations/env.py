from plumbline_analysis.models import Base
from plumbline_common import migrate

migrate.run(Base.metadata)
