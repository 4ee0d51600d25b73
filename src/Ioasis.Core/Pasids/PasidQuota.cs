using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// A node of the hierarchy of quotas (host, tenant, virtual machine …), in the manner of control groups: what is charged to a
/// node is charged to all above it, in one critical section (S0.1). Sets charge their reservations; so the sum of all
/// reservations never exceeds the capacity, which is the root's maximum (S0.4). Thread-safe.
/// </summary>
internal sealed class PasidQuota
{
    private readonly IoLock _tree;
    private int _children;
    private bool _removed;

    internal PasidQuota(uint max)
        : this(null, "root", max, new())
    {
    }

    private PasidQuota(PasidQuota? parent, string name, uint max, IoLock tree)
    {
        Parent = parent;
        Name = name;
        Max = max;
        _tree = tree;
    }

    /// <summary>A maximum that only the nodes above limit.</summary>
    public const uint Unlimited = uint.MaxValue;

    /// <summary>The node above, or null.</summary>
    public PasidQuota? Parent { get; }

    /// <summary>A name for people.</summary>
    public string Name { get; }

    /// <summary>The most that may be charged here and below; <see cref="Unlimited"/> for no limit of its own.</summary>
    public uint Max { get; private set; }

    /// <summary>What is charged here and below.</summary>
    public uint Current { get; private set; }

    /// <summary>The highest <see cref="Current"/> so far.</summary>
    public uint Peak { get; private set; }

    /// <summary>How often a charge failed because of this node's maximum.</summary>
    public long MaxEvents { get; private set; }

    /// <summary>Makes a node below this one.</summary>
    /// <param name="name">A name for people.</param>
    /// <param name="max">Its maximum; may exceed this one's, which limits it anyway.</param>
    /// <param name="child">The node.</param>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if this node was removed.</returns>
    public Errno TryAdd(string name, uint max, out PasidQuota? child)
    {
        ArgumentNullException.ThrowIfNull(name);
        child = null;
        if (Injection.Hit(InjectionKind.Allocate) != Errno.Success)
        {
            return Errno.OutOfMemory;
        }

        using (_tree.Acquire())
        {
            if (_removed)
            {
                return Errno.NoEntry;
            }

            _children++;
            child = new(this, name, max, _tree);
            return Errno.Success;
        }
    }

    /// <summary>Removes the node.</summary>
    /// <returns>
    /// Success, also for a node that was removed before; <see cref="Errno.Busy"/> while something is charged or below it;
    /// <see cref="Errno.NotPermitted"/> for the root.
    /// </returns>
    public Errno Remove()
    {
        using (_tree.Acquire())
        {
            if (Parent is null)
            {
                return Errno.NotPermitted;
            }

            if (_removed)
            {
                return Errno.Success;
            }

            if (Current != 0 || _children != 0)
            {
                return Errno.Busy;
            }

            _removed = true;
            Parent._children--;
            return Errno.Success;
        }
    }

    /// <summary>Changes the maximum.</summary>
    /// <returns>
    /// Success; <see cref="Errno.Busy"/> below what is charged; <see cref="Errno.NotPermitted"/> for the root, whose maximum is
    /// the capacity.
    /// </returns>
    public Errno SetMax(uint max) => Parent is null ? Errno.NotPermitted : SetMaxOfAny(max);

    /// <summary>Maximum, charge, peak and events at one moment.</summary>
    public PasidQuotaState Read()
    {
        using (_tree.Acquire())
        {
            return new(Max, Current, Peak, MaxEvents);
        }
    }

    internal Errno SetMaxOfAny(uint max)
    {
        using (_tree.Acquire())
        {
            if (max < Current)
            {
                return Errno.Busy;
            }

            Max = max;
            return Errno.Success;
        }
    }

    /// <summary>Charges this node and all above it, or none (S0.1, S0.2).</summary>
    /// <returns>Success; <see cref="Errno.NoSpace"/> over a maximum; <see cref="Errno.NoEntry"/> if it was removed.</returns>
    internal Errno TryCharge(uint amount)
    {
        using (_tree.Acquire())
        {
            Errno error = Check(amount);
            if (error == Errno.Success)
            {
                Add(amount);
            }

            return error;
        }
    }

    /// <summary>Takes back a part of what was charged here.</summary>
    internal void Uncharge(uint amount)
    {
        if (amount == 0)
        {
            return;
        }

        using (_tree.Acquire())
        {
            for (PasidQuota? node = this; node is not null; node = node.Parent)
            {
                node.Current -= amount;
            }
        }
    }

    private Errno Check(uint amount)
    {
        if (_removed)
        {
            return Errno.NoEntry;
        }

        for (PasidQuota? node = this; node is not null; node = node.Parent)
        {
            if (amount > node.Max - Math.Min(node.Max, node.Current))
            {
                node.MaxEvents++;
                return Errno.NoSpace;
            }
        }

        return Errno.Success;
    }

    private void Add(uint amount)
    {
        for (PasidQuota? node = this; node is not null; node = node.Parent)
        {
            node.Current += amount;
            node.Peak = Math.Max(node.Peak, node.Current);
        }
    }
}

/// <summary>A node of the hierarchy at one moment.</summary>
/// <param name="Max">See <see cref="PasidQuota.Max"/>.</param>
/// <param name="Current">See <see cref="PasidQuota.Current"/>.</param>
/// <param name="Peak">See <see cref="PasidQuota.Peak"/>.</param>
/// <param name="MaxEvents">See <see cref="PasidQuota.MaxEvents"/>.</param>
internal readonly record struct PasidQuotaState(uint Max, uint Current, uint Peak, long MaxEvents);
