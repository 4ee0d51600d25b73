using System.Runtime.InteropServices;

namespace Ioasis.Testing;

/// <summary>
/// Keeps threads of which only one runs at a time on one processor: there the next one is woken without a message to another
/// processor, and finds what the last one wrote in the nearest cache.
/// </summary>
/// <remarks>A thread that they start is not bound: the runtime gives each new thread the processors of the process.</remarks>
internal static partial class ProcessorAffinity
{
    /// <summary>Processors that the kernel's masks have room for here; more are not asked about.</summary>
    private const int MaximumProcessors = 8192;

    private static readonly int[] s_allowed = ListAllowed();
    private static int s_next;

    /// <summary>Chooses a processor of those that this process may use, each in its turn.</summary>
    /// <returns>Its number, or -1 where threads cannot be bound or there is nothing to choose from.</returns>
    public static int Choose() =>
        s_allowed.Length < 2 ? -1 : s_allowed[(uint)Interlocked.Increment(ref s_next) % (uint)s_allowed.Length];

    /// <summary>Binds the calling thread to a processor; nothing happens if that is refused, because it only costs time.</summary>
    /// <param name="processor">As <see cref="Choose"/> returned it.</param>
    public static void Bind(int processor)
    {
        if (processor >= 0)
        {
            Span<ulong> mask = stackalloc ulong[MaximumProcessors / 64];
            mask.Clear();
            mask[processor / 64] = 1UL << (processor % 64);
            _ = SetAffinity(0, MaximumProcessors / 8, in mask[0]);
        }
    }

    private static int[] ListAllowed()
    {
        if (!OperatingSystem.IsLinux())
        {
            return [];
        }

        Span<ulong> mask = stackalloc ulong[MaximumProcessors / 64];
        mask.Clear();
        if (GetAffinity(0, MaximumProcessors / 8, ref mask[0]) < 0)
        {
            return [];
        }

        List<int> allowed = [];
        for (int processor = 0; processor < MaximumProcessors; processor++)
        {
            if ((mask[processor / 64] >> (processor % 64) & 1) != 0)
            {
                allowed.Add(processor);
            }
        }

        return [.. allowed];
    }

    [LibraryImport("libc", EntryPoint = "sched_setaffinity")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SetAffinity(int thread, nuint bytes, in ulong mask);

    [LibraryImport("libc", EntryPoint = "sched_getaffinity")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int GetAffinity(int thread, nuint bytes, ref ulong mask);
}
