namespace Ioasis.Embedded.Sanitizing;

/// <summary>The mappings of one address space: those that live, and the last ones that ended.</summary>
internal sealed class MappingHistory
{
    // So far behind a mapping an access is an overrun of it rather than something else.
    private const ulong Near = 64 * 1024;
    private const int MostEnded = 4096;

    private readonly List<TrackedMapping> _live = [];
    private readonly List<TrackedMapping> _ended = [];

    /// <summary>Those that live.</summary>
    public IReadOnlyList<TrackedMapping> Live => _live;

    /// <summary>A mapping begins.</summary>
    public void Add(TrackedMapping mapping) => _live.Add(mapping);

    /// <summary>Mappings end that begin in a range.</summary>
    public void End(ulong iova, ulong length, ProgramMoment moment)
    {
        for (int i = _live.Count - 1; i >= 0; i--)
        {
            TrackedMapping mapping = _live[i];
            if (length > 0 && mapping.Overlaps(iova, length))
            {
                mapping.Unmapped = moment;
                _live.RemoveAt(i);
                _ended.Add(mapping);
            }
        }

        if (_ended.Count > MostEnded)
        {
            _ended.RemoveRange(0, _ended.Count - MostEnded);
        }
    }

    /// <summary>The mapping that lives at an IOVA.</summary>
    public TrackedMapping? At(ulong iova) => _live.Find(mapping => mapping.Covers(iova));

    /// <summary>The mapping that lived at an IOVA last.</summary>
    public TrackedMapping? LastAt(ulong iova) => _ended.FindLast(mapping => mapping.Covers(iova));

    /// <summary>The living mapping behind whose end an IOVA lies.</summary>
    public TrackedMapping? Before(ulong iova) =>
        _live.Where(mapping => !mapping.Covers(iova) && iova >= mapping.Iova && iova - (mapping.Iova + mapping.Length) < Near).MaxBy(static mapping => mapping.Iova);

    /// <summary>A mapping of memory of a process, the latest.</summary>
    public TrackedMapping? OfMemory(int process, ulong address) =>
        _live.FindLast(mapping => IsMemory(mapping, process, address)) ?? _ended.FindLast(mapping => IsMemory(mapping, process, address));

    /// <summary>A living mapping that shares memory with a range.</summary>
    public TrackedMapping? Sharing(int process, ulong memory, ulong length) => _live.Find(mapping => mapping.SharesMemory(process, memory, length));

    private static bool IsMemory(TrackedMapping mapping, int process, ulong address) =>
        !mapping.IsFile && mapping.Process == process && address - mapping.Memory < mapping.Length;
}
