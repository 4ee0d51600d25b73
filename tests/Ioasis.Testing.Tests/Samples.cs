using Ioasis.Platform;

namespace Ioasis.Testing.Tests;

/// <summary>Two threads count; unless they lock, one preemption loses an update.</summary>
internal sealed class Counting : Scenario
{
    private readonly Cell _count = new(0x10);
    private readonly IoLock _lock = new();

    public Counting(bool locked, int threads = 2, int rounds = 1)
    {
        for (int i = 0; i < threads; i++)
        {
            AddThread($"counter{i}", () =>
            {
                for (int round = 0; round < rounds; round++)
                {
                    if (locked)
                    {
                        using (_lock.Acquire())
                        {
                            _count.Write(_count.Read() + 1);
                        }
                    }
                    else
                    {
                        _count.Write(_count.Read() + 1);
                    }
                }
            });
        }

        Expected = threads * rounds;
    }

    private int Expected { get; }

    public override void CheckAtEnd() => _count.Peek.ShouldBe(Expected);
}

/// <summary>
/// The reader takes two snapshots that must agree; a writer changes and changes back. Wrong only if the reader is stopped
/// after the first value, the writer is stopped in the middle, and the reader goes on: two preemptions.
/// </summary>
internal sealed class ThereAndBack : Scenario
{
    private readonly Cell _value = new(0x20);
    private bool _seen;

    public ThereAndBack()
    {
        AddThread("reader", () => _seen = _value.Read() != _value.Read());
        AddThread("writer", () =>
        {
            _value.Write(1);
            _value.Write(0);
        });
    }

    public override void CheckAtEnd() => _seen.ShouldBeFalse();
}

/// <summary>Two locks, taken in the same or in the opposite order.</summary>
internal sealed class TwoLocks : Scenario
{
    private readonly IoLock _a = new();
    private readonly IoLock _b = new();

    public TwoLocks(bool sameOrder)
    {
        AddThread("first", () => Both(_a, _b));
        AddThread("second", () => Both(sameOrder ? _a : _b, sameOrder ? _b : _a));
    }

    private static void Both(IoLock outer, IoLock inner)
    {
        using (outer.Acquire())
        using (inner.Acquire())
        {
            Note("has both");
        }
    }
}

/// <summary>
/// A sleeper checks for work and then announces that it sleeps; a waker rouses it only if it is announced. In the wrong
/// order of announcing and checking the wake-up is missed.
/// </summary>
internal sealed class WakeUp : Scenario
{
    private readonly Cell _work = new(0x30);
    private readonly Cell _sleeping = new(0x38);
    private readonly Cell _roused = new(0x40);

    public WakeUp(bool announceFirst)
    {
        AddThread("sleeper", () =>
        {
            if (announceFirst)
            {
                _sleeping.Write(1);
            }

            if (_work.Read() == 0)
            {
                if (!announceFirst)
                {
                    _sleeping.Write(1);
                }

                while (_roused.Read() == 0)
                {
                    _ = Injection.Hit(InjectionKind.Wait);
                }
            }
        });
        AddThread("waker", () =>
        {
            _work.Write(1);
            if (_sleeping.Read() != 0)
            {
                _roused.Write(1);
            }
        });
    }
}

/// <summary>
/// A bug of depth three: three orderings between the threads must come together, far apart in a run that is too long for
/// an exhaustive search with two preemptions to be of use.
/// </summary>
internal sealed class DepthThree : Scenario
{
    private readonly Cell _a = new(0x50);
    private readonly Cell _b = new(0x58);
    private readonly Cell _idle = new(0x60);
    private bool _wrong;

    public DepthThree()
    {
        AddThread("one", () =>
        {
            Idle(15);
            _a.Write(1);
            Idle(15);
            _a.Write(2);
            Idle(15);
            _a.Write(3);
        });
        AddThread("two", () =>
        {
            Idle(10);
            bool first = _a.Read() == 1;
            _b.Write(1);
            Idle(10);
            bool second = _a.Read() >= 2;
            _wrong = first && second;
        });
    }

    public override void CheckAtEnd() => _wrong.ShouldBeFalse();

    private void Idle(int count)
    {
        for (int i = 0; i < count; i++)
        {
            _ = _idle.Read();
        }
    }
}

/// <summary>Polls for a flag that somebody sets, or nobody does.</summary>
internal sealed class Polling : Scenario
{
    private readonly Cell _flag = new(0x70);
    private readonly ManualTime _time = new();
    private readonly bool _timesOut;

    public Polling(int pollers, bool set, bool timesOut = false)
    {
        _timesOut = timesOut;
        for (int i = 0; i < pollers; i++)
        {
            AddThread($"poller{i}", () =>
            {
                while (_flag.Read() == 0 && _time.GetTimestamp() < TimeSpan.TicksPerSecond)
                {
                    _ = Injection.Hit(InjectionKind.Wait);
                }
            });
        }

        AddThread("setter", () =>
        {
            for (int i = 0; i < 5; i++)
            {
                _ = _flag.Read();
            }

            _flag.Write(set ? 1 : 0);
        });
    }

    public override bool OnIdle()
    {
        if (_timesOut)
        {
            _time.Advance(TimeSpan.FromMilliseconds(100));
        }

        return _timesOut;
    }
}
