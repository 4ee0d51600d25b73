using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <content>Capacity, reserved ranges, and where numbers come from.</content>
internal sealed partial class PasidAllocator
{
    private readonly List<(uint First, uint Last)> _reserved = [];
    private uint _shrunk;

    /// <summary>Sets the capacity, once, before the first set: what the IOMMUs of the system can send.</summary>
    /// <param name="capacity">How many numbers there are, 0 included: 2 to 2^20.</param>
    /// <returns>
    /// Success; <see cref="Errno.Exists"/> the second time, or when there are sets or reserved ranges;
    /// <see cref="Errno.InvalidArgument"/>.
    /// </returns>
    public Errno TryInstallCapacity(uint capacity)
    {
        if (capacity is < 2 or > Pasid.MaxValue + 1)
        {
            return Errno.InvalidArgument;
        }

        using (_lock.Acquire())
        {
            if (_installed || _reserved.Count > 0)
            {
                return Errno.Exists;
            }

            _installed = true;
            Capacity = capacity;
            _numbers = NewNumbers(capacity);
            _setNumbers = NewNumbers(capacity);
            return RootQuota.SetMaxOfAny(capacity - 1);
        }
    }

    /// <summary>Makes the capacity smaller, by what is unused: an IOMMU with fewer bits was added.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> if a number that would go is in use, or quotas reserve more than would be left: then
    /// nothing has changed; <see cref="Errno.InvalidArgument"/> for less than 2 or more than now.
    /// </returns>
    public Errno TryShrinkCapacity(uint capacity)
    {
        using (_lock.Acquire())
        {
            if (capacity < 2 || capacity > Capacity)
            {
                return Errno.InvalidArgument;
            }

            List<uint> taken = [];
            for (uint number = capacity; number < Capacity; number++)
            {
                if (!_reserved.Exists(range => range.First <= number && number <= range.Last))
                {
                    taken.Add(number);
                }
            }

            Errno error = TakeOut(taken);
            if (error == Errno.Success)
            {
                _installed = true;
                _shrunk += (uint)taken.Count;
                Capacity = capacity;
            }

            return error;
        }
    }

    /// <summary>Reserves a range, both ends inclusive: nobody gets one of it, not even as a fixed number.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> if one is in use or reserved, or quotas reserve more than would be left;
    /// <see cref="Errno.InvalidArgument"/>.
    /// </returns>
    public Errno TryReserve(Pasid first, Pasid last)
    {
        using (_lock.Acquire())
        {
            if (!first.IsPresent || first.Value > last.Value || last.Value >= Capacity)
            {
                return Errno.InvalidArgument;
            }

            List<uint> taken = [];
            for (uint number = first.Value; number <= last.Value; number++)
            {
                taken.Add(number);
            }

            Errno error = TakeOut(taken);
            if (error == Errno.Success)
            {
                _reserved.Add((first.Value, last.Value));
            }

            return error;
        }
    }

    /// <summary>Gives a reserved range back to allocation.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if exactly this range is not reserved, or beyond the capacity.</returns>
    public Errno Unreserve(Pasid first, Pasid last)
    {
        using (_lock.Acquire())
        {
            if (last.Value >= Capacity || !_reserved.Remove((first.Value, last.Value)))
            {
                return Errno.NoEntry;
            }

            for (uint number = first.Value; number <= last.Value; number++)
            {
                _numbers.Release(number);
            }

            return RootQuota.SetMaxOfAny(RootQuota.Read().Max + (last.Value - first.Value + 1));
        }
    }

    /// <summary>Takes a number for an allocation that has reserved room for it.</summary>
    internal Errno TakeNumber(in PasidRequest request, IPasidSource? source, out Pasid pasid)
    {
        if (source is not null)
        {
            return TakeFromSource(request, source, out pasid);
        }

        pasid = Pasid.Invalid;
        uint first = request.First.Value;
        if (request.Policy == PasidPolicy.Fixed)
        {
            if (first >= Capacity)
            {
                return Errno.InvalidArgument;
            }

            if (!_numbers.TryTake(first))
            {
                return Errno.Exists;
            }

            pasid = request.First;
            return Errno.Success;
        }

        uint last = request.Last.Value;
        bool any = first == 1 && last >= Capacity - 1;
        uint taken = (request.Policy, any) switch
        {
            (PasidPolicy.Cyclic, true) => _numbers.TakeCyclic(),
            (PasidPolicy.Cyclic, false) => _numbers.TakeCyclic(first, last),
            _ => _numbers.TakeLowest(first, last),
        };
        if (taken == PasidNumbers.None)
        {
            taken = TakeSlowly(first, last, any);
        }

        pasid = new(taken);
        return taken == PasidNumbers.None ? Errno.NoSpace : Errno.Success;
    }

    /// <summary>Empties the place of an IOASID whose life is over, and gives its number back, to whoever gave it.</summary>
    internal void GiveBack(Ioasid ioasid)
    {
        ioasid.Empty();
        _numbers.Release(ioasid.Pasid.Value);
        Source?.Free(ioasid.Pasid);
    }

    // Takes the numbers out of circulation, and as many out of what can be reserved; or nothing.
    private Errno TakeOut(List<uint> numbers)
    {
        uint max = RootQuota.Read().Max;
        if (numbers.Count > max || RootQuota.SetMaxOfAny(max - (uint)numbers.Count) != Errno.Success)
        {
            return Errno.Busy;
        }

        for (int i = 0; i < numbers.Count; i++)
        {
            if (!_numbers.TryTake(numbers[i]))
            {
                while (--i >= 0)
                {
                    _numbers.Release(numbers[i]);
                }

                _ = RootQuota.SetMaxOfAny(max);
                return Errno.Busy;
            }
        }

        return Errno.Success;
    }

    // The quotas leave a free number for everybody who has reserved one; only others' changes can hide it for a moment. In a
    // part of the range there may be none indeed.
    private uint TakeSlowly(uint first, uint last, bool any)
    {
        const int Rounds = 1000;
        SpinWait spin = default;
        for (int round = 0; round < (any ? Rounds : 1); round++)
        {
            for (uint number = first; number <= Math.Min(last, Capacity - 1); number++)
            {
                if (_numbers.TryTake(number))
                {
                    return number;
                }
            }

            if (Injection.Current is null)
            {
                spin.SpinOnce();
            }
        }

        return PasidNumbers.None;
    }
}
