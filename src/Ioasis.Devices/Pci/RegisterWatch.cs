using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Ioasis.Devices;

/// <summary>
/// The thread by which a device looks at registers that a client has mapped: nothing tells of a store to them. It looks without
/// a pause for some microseconds after each finding, and then sleeps between two looks: an eighth of the time in which there was nothing,
/// at last a millisecond.
/// </summary>
/// <remarks>
/// It never yields: what a thread that yields has left of its turn is gone, and where others want the processor it then waits for all of
/// theirs. One that wakes from a sleep comes before them. How long it looks without a pause follows from what came of it: where client and
/// device have one processor for both, nothing can, and the client waits for the sleep.
/// </remarks>
internal sealed partial class RegisterWatch
{
    private const int TimerSlack = 29;
    private const uint SlackNanoseconds = 1_000;
    private const long LeastSleepNanoseconds = 20_000;
    private const long MostSleepNanoseconds = 1_000_000;
    private const int PartOfIdleTime = 8;

    // Findings after a sleep until it is tried again whether one can be had without.
    private const int SleepsToRetry = 16;

    private static readonly long s_leastPatience = FromMicroseconds(4);
    private static readonly long s_mostPatience = FromMicroseconds(128);

    private readonly Func<bool> _look;
    private readonly Thread _thread;
    private volatile bool _ends;

    /// <summary>Begins.</summary>
    /// <param name="name">The device, for people.</param>
    /// <param name="look">Looks once, and tells whether there was something. Does not throw.</param>
    public RegisterWatch(string name, Func<bool> look)
    {
        _look = look;
        _thread = new(Run) { IsBackground = true, Name = name };
        _thread.Start();
    }

    /// <summary>Ends it. No look is under way when the call returns, unless it is made by one.</summary>
    public void End()
    {
        _ends = true;
        if (Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }
    }

    private static long FromMicroseconds(long time) => time * Stopwatch.Frequency / 1_000_000;

    private void Run()
    {
        if (OperatingSystem.IsLinux())
        {
            // Else a sleep is 50 microseconds longer than it was asked for.
            _ = Control(TimerSlack, SlackNanoseconds, 0, 0, 0);
        }

        long patience = s_mostPatience;
        long last = Stopwatch.GetTimestamp();
        bool hasSlept = false;
        int slept = 0;
        while (!_ends)
        {
            if (_look())
            {
                if (hasSlept)
                {
                    patience = ++slept % SleepsToRetry == 0 ? s_mostPatience : Math.Max(patience / 2, s_leastPatience);
                    hasSlept = false;
                }

                last = Stopwatch.GetTimestamp();
                continue;
            }

            long idle = Stopwatch.GetTimestamp() - last;
            if (idle < patience)
            {
                Thread.SpinWait(1);
            }
            else
            {
                hasSlept = true;
                Sleep(idle);
            }
        }
    }

    private static void Sleep(long idle)
    {
        long time = Math.Clamp(idle * 1_000_000_000 / Stopwatch.Frequency / PartOfIdleTime, LeastSleepNanoseconds, MostSleepNanoseconds);
        if (OperatingSystem.IsLinux())
        {
            TimeSpec wanted = new() { Nanoseconds = (nint)time };
            _ = SleepNanoseconds(in wanted, 0);
        }
        else
        {
            Thread.Sleep(1);
        }
    }

    [LibraryImport("libc", EntryPoint = "prctl")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int Control(int option, nuint first, nuint second, nuint third, nuint fourth);

    [LibraryImport("libc", EntryPoint = "nanosleep")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static partial int SleepNanoseconds(in TimeSpec wanted, nint left);

    private struct TimeSpec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
