namespace Ioasis.Replay.Recording;

internal sealed partial class Attribution
{
    /// <summary>A map or unmap that waits for the event that names its device.</summary>
    /// <param name="Event">Its number.</param>
    /// <param name="Domain">Its domain, if a probe told it, or 0.</param>
    /// <param name="Context">The context that it was logged in.</param>
    /// <param name="IsAnnounced">Whether it has a device by an announcement, which an exact claim overrules.</param>
    internal readonly record struct Pending(long Event, ulong Domain, ExecutionContextKind Context, bool IsAnnounced)
    {
        public bool IsOtherContext(ExecutionContextKind context) =>
            context != Context && context != ExecutionContextKind.Unknown && Context != ExecutionContextKind.Unknown;
    }

    /// <summary>What is pending in one task.</summary>
    internal sealed class TaskState(long key)
    {
        private readonly ContextState[] _contexts = new ContextState[4];

        public long Key { get; } = key;

        public List<Pending> Maps { get; } = [];

        public List<Pending> Unmaps { get; } = [];

        public List<(int Device, ulong Iova)> Links { get; } = [];

        public List<(int Device, ulong Iova)> Destroys { get; } = [];

        /// <summary>Unmaps to come.</summary>
        public List<Announcement> Announced { get; } = [];

        /// <summary>The announcement that the latest unmap took.</summary>
        public Announcement? Given { get; set; }

        /// <summary>The calls that probes saw begin, where they say where on the stack.</summary>
        public ProbedCalls Calls { get; } = new();

        /// <summary>What probes told in a context: an interrupt has a state of its own.</summary>
        public ref ContextState Of(ExecutionContextKind context) => ref _contexts[(int)context];
    }

    /// <summary>What the probes of one task and context told last.</summary>
    internal struct ContextState
    {
        private ulong _mapDomain;
        private ulong _mapStart;
        private ulong _mapLast;
        private ulong _unmapDomain;
        private ulong _unmapStart;
        private ulong _unmapLast;
        private int _dmaDevice;

        /// <summary>The device of the DMA call that is under way, or -1.</summary>
        public int DmaDevice
        {
            readonly get => _dmaDevice - 1;
            set => _dmaDevice = value + 1;
        }

        /// <summary>The entry of a map; a list's length is not known there.</summary>
        public void BeginMap(ulong domain, ulong iova, ulong length)
        {
            _mapDomain = domain;
            _mapStart = iova;
            _mapLast = length == 0 ? ulong.MaxValue : iova + (length - 1);
        }

        /// <summary>The entry of an unmap.</summary>
        public void BeginUnmap(ulong domain, ulong iova, ulong length)
        {
            _unmapDomain = domain;
            _unmapStart = iova;
            _unmapLast = length == 0 ? ulong.MaxValue : iova + (length - 1);
        }

        public readonly ulong MapDomainOf(ulong iova, ulong length) =>
            iova >= _mapStart && iova + (length - 1) <= _mapLast ? _mapDomain : 0;

        public readonly ulong UnmapDomainOf(ulong iova, ulong length) =>
            iova >= _unmapStart && iova + (length - 1) <= _unmapLast ? _unmapDomain : 0;
    }
}
