using Ioasis.PageTables;
using Ioasis.Primitives;

namespace Ioasis.Core;

/// <summary>
/// The address space of a process as a domain: devices walk the process's own table, and their page requests are faults of
/// the process. A driver supplies the invalidation.
/// </summary>
internal abstract class SvaDomain : Domain, IAddressSpaceNotifier, IPageRequestHandler
{
    /// <summary>Prepares a domain; <see cref="TryRegister"/> makes it follow the address space.</summary>
    protected SvaDomain(ProcessAddressSpace addressSpace)
    {
        ArgumentNullException.ThrowIfNull(addressSpace);
        AddressSpace = addressSpace;
        PageRequestHandler = this;
    }

    /// <inheritdoc/>
    public sealed override DomainKind Kind => DomainKind.Sva;

    /// <summary>The process's memory.</summary>
    public ProcessAddressSpace AddressSpace { get; }

    /// <summary>Whether a device is attached.</summary>
    protected abstract bool IsAttached { get; }

    /// <inheritdoc/>
    public abstract Errno Invalidate(in InvalidationGather gather);

    /// <summary>Whoever attached the domain by hand keeps an empty table until it is detached and disposed of.</summary>
    public Errno OnExit(ProcessAddressSpace addressSpace) => IsAttached ? Errno.Busy : Errno.Success;

    /// <summary>Faults the pages of a group in: success only if every one of them is there.</summary>
    public void OnPageRequests(PageRequestGroup group)
    {
        ArgumentNullException.ThrowIfNull(group);
        PageResponseCode code = PageResponseCode.Success;
        foreach (ref readonly PageRequest request in group.Requests)
        {
            // A process is user mode: nothing of it is there for privileged requests.
            if (request.IsPrivileged || AddressSpace.HandleFault(request.Address.Value, request.Access) != Errno.Success)
            {
                code = PageResponseCode.InvalidRequest;
                break;
            }
        }

        _ = group.Respond(code);
    }

    /// <summary>Makes the domain follow the address space, before anything is attached to it.</summary>
    /// <returns>Success, or <see cref="Errno.NoEntry"/> if the process ends.</returns>
    protected Errno TryRegister() => AddressSpace.Register(this);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            AddressSpace.Unregister(this);
        }

        base.Dispose(disposing);
    }
}
